# The same as agent.py, for a perl without any module: names and numbers there explain those here.
use strict;
use Config;
my ($INIT, $ADD, $RM, $STATX, $CLOCK, $NOFOLLOW) = @{ {
  "x86_64" => [294, 254, 255, 332, 228, 0x20000], "aarch64" => [26, 27, 28, 291, 113, 0x8000],
  "riscv64" => [26, 27, 28, 291, 113, 0x20000], "i386" => [332, 292, 293, 383, 403, 0x20000],
  "i686" => [332, 292, 293, 383, 403, 0x20000], "arm" => [360, 317, 318, 397, 403, 0x8000],
  "powerpc64le" => [318, 276, 277, 383, 246, 0x8000], "s390x" => [324, 285, 286, 379, 260, 0x20000],
}->{$Config{archname} =~ /^(armv\d|arm)/ ? "arm" : (split /-/, $Config{archname})[0]} || [] };
exit 3 unless $INIT;
my ($MODIFY, $ATTRIB, $CLOSE_WRITE, $FROM, $TO, $CREATE, $DELETE) = (2, 4, 8, 0x40, 0x80, 0x100, 0x200);
my ($LOST, $OVERFLOW, $IGNORED, $ISDIR, $DONT_FOLLOW) = (0x2c00, 0x4000, 0x8000, 0x40000000, 0x2000000);
my $WATCH = 0x1000fce;
my %GONE = (2 => 1, 20 => 1, 40 => 1);
my %NAMES = (1 => "EPERM", 5 => "EIO", 13 => "EACCES", 116 => "ESTALE");
my ($fd, $in) = (-1);
my (%limits, @roots, %places, %dirs, %wds, %seen, %told, %due, @heap, %spent, @missing, @out, @questions, $waiting);
my $beyond = 0;
my $sizeof = 0;
my ($gathering, $gathered, $unchanged) = (0, "", 0);

sub clock { my $t = pack "q q", 0, 0; syscall $CLOCK, $_[0], $t; my ($s, $n) = unpack "q q", $t; ($s, $n) }
sub now { my ($s, $n) = clock(1); $s + $n / 1e9 }
sub wall { my ($s, $n) = clock(0); $s * 1000000000 + $n }
sub flush_out {
  my $data = join "", @out;
  @out = ();
  $sizeof = 0;
  my $at = 0;
  while ($at < length $data) {
    my $n = syswrite STDOUT, $data, length($data) - $at, $at;
    exit 0 unless defined $n;
    $at += $n;
  }
}
sub say_ { my $line = join(" ", @_) . "\n"; push @out, $line; $sizeof += length $line; flush_out() if $sizeof > 65536 }
sub quote { my $p = shift; $p =~ s{([^a-zA-Z0-9/._\-+=\@,:~])}{sprintf "%%%02X", ord $1}ge; $p }
sub unquote { my $p = shift; $p =~ s/%([0-9A-F]{2})/chr hex $1/ge; $p }
sub why { $NAMES{$_[0]} || "E$_[0]" }
sub base64 {
  my $r = pack "u", $_[0];
  $r =~ s/^.//mg;
  $r =~ s/\n//g;
  $r =~ tr|` -_|AA-Za-z0-9+/|;
  my $pad = (3 - length($_[0]) % 3) % 3;
  $r =~ s/.{$pad}$/"=" x $pad/e if $pad;
  $r;
}

# (mark, mode) of a path, or of an open file; nothing with $! set. Every file of a tree goes through here.
my ($stat, $none) = ("\0" x 256, "");
sub look {
  my ($path, $handle) = @_;
  return if (defined $handle ? syscall($STATX, $handle, $none, 0x1000, 0x7ff, $stat)
    : syscall($STATX, -100, $path, 0x100, 0x7ff, $stat)) != 0;
  my ($uid, $gid, $mode, $ino, $size, $cs, $cn, $ms, $mn) = unpack "x20 L L S x2 Q Q x48 q L x4 q L", $stat;
  ($cn, $mn) = ($cs * 1000000000 + $cn, $ms * 1000000000 + $mn);
  ("$ino,$size,$mn,$cn,$mode,$uid,$gid", $mode);
}
# Of the last one looked at:
sub links { unpack "x16 L", $stat }
sub which { join " ", unpack "x32 Q x96 L L", $stat } # inode and device
sub size_and_ctime { my ($size, $s, $n) = unpack "x40 Q x48 q L", $stat; ($size, $s * 1000000000 + $n) }
sub parent { my $p = shift; $p =~ s{/[^/]*$}{}; length $p ? $p : "/" }
sub below { $_[0] eq "/" ? "/" : "$_[0]/" }
sub is_root { my $p = shift; scalar grep { $_->[0] eq $p } @roots }

sub scopes {
  my $folder = shift;
  my @found;
  for my $root (@roots) {
    my $start = below($root->[0]);
    push @found, [$root, length $start]
      if $folder eq $root->[0] || ($root->[1] && index($folder, $start) == 0);
  }
  \@found;
}
sub wants {
  for (@{$_[1]}) {
    my $root = $_->[0];
    my $rel = substr $_[0], $_->[1];
    next if $root->[3] && $rel =~ $root->[3];
    if ($_[2]) { return 1 if $root->[1] }
    elsif (!$root->[2] || $rel =~ $root->[2]) { return 1 }
  }
  0;
}

sub add_watch {
  my ($folder, $follow) = @_;
  my $path = "$folder";
  my $wd = syscall $ADD, $fd, $path, $WATCH | ($follow ? 0 : $DONT_FOLLOW);
  if ($wd < 0) {
    return 0 if $GONE{$! + 0};
    $dirs{$folder} = -1;
    return 1;
  }
  my $old = $wds{$wd};
  delete $dirs{$old} if defined $old && $old ne $folder && ($dirs{$old} // -1) == $wd;
  $wds{$wd} = $folder;
  $dirs{$folder} = $wd;
  1;
}
sub drop_watch {
  my $folder = shift;
  my $wd = delete $dirs{$folder} // -1;
  delete $told{$folder};
  if ($wd >= 0 && ($wds{$wd} // "") eq $folder) {
    delete $wds{$wd};
    syscall $RM, $fd, $wd;
  }
}
# mode 0: watch every folder; 1: only new ones; 2: only this and new ones, and look no further
# Files come in the order of their whole paths. While gathering, those as told are not visited but go to the digest.
sub scan {
  my ($top, $visit, $mode) = @_;
  my @stack = enter($top, $mode != 1 || !exists $dirs{$top}, 1);
  while (@stack) {
    my ($prefix, $names, $covering, $others) = @{$stack[-1]};
    if ($gathering && !$others) { # nothing but files as told, which is most folders
      $unchanged += @$names;
      $gathered .= join "", map "$prefix$_\n", @$names;
      gathered_out() if length $gathered > 32768;
      pop @stack;
      next;
    }
    my $below;
    while (defined(my $entry = shift @$names)) {
      my $at = index $entry, "\0";
      if ($at < 0) {
        my $path = $prefix . substr $entry, 0, -1;
        my $known = exists $dirs{$path};
        next if !wants($path, $covering, 1) || ($mode == 2 && $known);
        last if $below = enter($path, $mode == 0 || !$known, 0);
        next;
      }
      my $path = $prefix . substr $entry, 0, $at;
      my $mark = substr $entry, $at + 1;
      my $old = $seen{$path};
      if ($gathering && defined $old && $old eq $mark) {
        $unchanged++;
        $gathered .= "$prefix$entry\n";
        gathered_out() if length $gathered > 32768;
      } elsif (defined $old || wants($path, $covering)) { # what we told of is wanted; looking it up is much cheaper
        $visit->($path, length $mark ? $mark : ());
      }
    }
    if ($below) { push @stack, $below }
    else { pop @stack }
  }
}
# What is in a folder, in order: "name/" of folders, "name\0mark" of others; and how many of
# them are not files as told. Nothing when it is not there.
sub enter {
  my ($folder, $watch, $follow) = @_;
  if ($watch && !add_watch($folder, $follow)) {
    forget($folder) if exists $dirs{$folder};
    return;
  }
  my $handle;
  if (!opendir $handle, $folder) {
    my $code = $! + 0;
    if ($GONE{$code}) { forget($folder) }
    elsif (($told{$folder} || 0) != $code) {
      $told{$folder} = $code;
      say_("U", why($code), quote($folder));
    }
    return;
  }
  delete $told{$folder};
  my $prefix = below($folder);
  my ($others, @names) = (0);
  while (defined(my $name = readdir $handle)) {
    next if $name eq "." || $name eq "..";
    my $path = $prefix . $name;
    if (syscall($STATX, -100, $path, 0x100, 0x7ff, $stat)) {
      $others++;
      push @names, "$name\0" unless $GONE{$! + 0};
      next;
    }
    # As look() does it, for calls are dear where there are thousands of files.
    my ($uid, $gid, $mode, $ino, $size, $cs, $cn, $ms, $mn) = unpack "x20 L L S x2 Q Q x48 q L x4 q L", $stat;
    if (($mode & 0xf000) == 0x4000) { $others++; push @names, "$name/"; next }
    ($cn, $mn) = ($cs * 1000000000 + $cn, $ms * 1000000000 + $mn);
    my $mark = "$ino,$size,$mn,$cn,$mode,$uid,$gid";
    $others++ unless ($seen{$path} // "") eq $mark;
    push @names, "$name\0$mark";
  }
  closedir $handle;
  @names = sort @names;
  [$prefix, \@names, scopes($folder), $others];
}
sub scan_all {
  my ($visit, $mode) = @_;
  @missing = ();
  for my $path (sort { (-d $a ? "$a/" : $a) cmp (-d $b ? "$b/" : $b) } map { $_->[0] } @roots) {
    if (place($path)) { scan($path, $visit, $mode); next }
    my $folder = parent($path);
    if (place($folder)) {
      add_watch($folder, 1) unless exists $dirs{$folder};
      my @s = look($path);
      if (@s) { $visit->($path, $s[0]); next }
    }
    push @missing, $path;
  }
}
sub identity { my @s = stat $_[0]; @s && -d _ ? "$s[0] $s[1]" : "" }
sub place { my $found = identity($_[0]); $places{$_[0]} //= $found if $found; $found ne "" }
sub replaced { scalar grep { ($dirs{$_} // -1) >= 0 && identity($_) ne $places{$_} } keys %places }
sub forget {
  my $folder = shift;
  my $start = below($folder);
  drop_watch($_) for grep { $_ eq $folder || index($_, $start) == 0 } keys %dirs;
  touch($_, $limits{hold}) for grep { index($_, $start) == 0 } keys %seen;
}
sub known_or_new {
  my ($path, $mark) = @_;
  my $old = $seen{$path};
  touch($path, $limits{settle})
    if defined $mark ? !defined $old || ($old ne $mark && $old ne "~$mark") : !defined $old;
}
sub baseline {
  my ($path, $mark) = @_;
  if (!exists $seen{$path} && keys %seen >= $limits{files}) { $beyond++ }
  elsif (defined $mark) { $seen{$path} = $mark }
  else { touch($path, 0) }
}
sub restart {
  close $in if $in;
  $fd = syscall $INIT, 0x80800;
  exit 4 if $fd < 0;
  open $in, "<&=$fd" or exit 4;
  (%dirs, %wds, %told, %places) = ();
  $beyond = 0;
  scan_all($_[0], 0);
}
sub resync { restart(\&known_or_new); sweep(); tree() }
# Whether a scan may see a file twice, or out of order.
sub nested {
  my @paths = sort map { my $path = $_->[0]; $path =~ s{/*$}{/}; $path } @roots;
  scalar grep { index($paths[$_], $paths[$_ - 1]) == 0 } 1 .. $#paths;
}
sub tree {
  my $listing = shift;
  $beyond = 0;
  my $again = nested() ? {} : undef;
  my $digesting = !$listing && !%due;
  ($gathering, $unchanged) = ($digesting && !$again, 0);
  digest_begin() if $digesting;
  my ($count, $known) = (0, 0);
  scan_all(sub {
    my ($path, $mark) = @_;
    return if $again && exists $again->{$path};
    my $old = $seen{$path};
    if (defined $old) { $known++ }
    elsif (keys %seen >= $limits{files}) { $beyond++; return }
    known_or_new($path, $mark) unless defined $old && defined $mark && $old eq $mark || exists $due{$path};
    $again->{$path} = $mark if $again;
    return unless defined $mark;
    $count++;
    gather("$path\0$mark\n") if $gathering;
    say_("S", $mark, quote($path)) if $listing;
  }, 1);
  $gathering = 0;
  ($count, $known) = ($count + $unchanged, $known + $unchanged);
  sweep() if $known < keys %seen;
  if ($listing) { say_("E", $count); return }
  if ($digesting && $again) {
    gather("$_\0$again->{$_}\n") for grep { defined $again->{$_} } sort keys %$again;
  }
  my $digest = $digesting ? digest_end() : "-";
  $digest = "-" if %due;
  my $polled = grep { $_ < 0 } values %dirs;
  say_("T", join(",", $count, scalar keys %dirs, $polled, $beyond, scalar @missing, scalar keys %told), $digest);
}
# The digest is computed by a program meanwhile: perl alone has none.
my ($digester, $to_digest, $from_digest);
sub digest_begin {
  $gathered = "";
  $digester = undef;
  pipe my $read, $to_digest or return;
  pipe $from_digest, my $write or return;
  $digester = fork;
  return if !defined $digester || $digester;
  open STDIN, "<&", $read;
  open STDOUT, ">&", $write;
  exec "sha256sum" or kill 9, $$;
}
sub gather {
  $gathered .= $_[0];
  gathered_out() if length $gathered > 32768;
}
sub gathered_out {
  local $SIG{PIPE} = "IGNORE"; # without such a program there is no digest
  my $at = 0;
  while ($digester && $at < length $gathered) {
    my $n = syswrite $to_digest, $gathered, length($gathered) - $at, $at;
    last unless defined $n;
    $at += $n;
  }
  $gathered = "";
}
sub digest_end {
  gathered_out();
  return "-" unless $digester;
  close $to_digest;
  my $said = <$from_digest>;
  close $from_digest;
  waitpid $digester, 0;
  ($said // "") =~ /^([0-9a-f]{64})/ ? $1 : "-";
}
sub sweep {
  for my $path (keys %seen) {
    next if exists $due{$path} || hidden($path);
    touch($path, $limits{hold}) if !look($path) && $GONE{$! + 0};
  }
}
sub hidden {
  my $path = shift;
  while (%told && length $path > 1) {
    $path = parent($path);
    return 1 if exists $told{$path};
  }
  0;
}
sub polled {
  for my $folder (grep { $dirs{$_} < 0 } keys %dirs) {
    my %found;
    scan($folder, sub {
      my ($path, $mark) = @_;
      $found{$path} = 1;
      touch($path, $limits{settle}) if !exists $due{$path} && (!defined $mark || ($seen{$path} // "") ne $mark);
    }, 2);
    my $start = below($folder);
    for (keys %seen) {
      touch($_, $limits{hold}) if index($_, $start) == 0 && index($_, "/", length $start) < 0
        && !$found{$_} && !exists $due{$_} && !exists $told{$folder};
    }
  }
  my $moved = replaced();
  say_("O", "root") if $moved;
  resync() if $moved || grep { look($_) } @missing;
}

# A heap of [when, path], as Python's heapq.
sub push_heap {
  my ($when, $path) = @_;
  push @heap, [$when, $path];
  my $i = $#heap;
  while ($i > 0) {
    my $up = ($i - 1) >> 1;
    last if $heap[$up][0] <= $heap[$i][0];
    @heap[$up, $i] = @heap[$i, $up];
    $i = $up;
  }
}
sub pop_heap {
  my $top = $heap[0];
  my $end = pop @heap;
  if (@heap) {
    $heap[0] = $end;
    my $i = 0;
    while ((my $child = 2 * $i + 1) <= $#heap) {
      $child++ if $child < $#heap && $heap[$child + 1][0] < $heap[$child][0];
      last if $heap[$i][0] <= $heap[$child][0];
      @heap[$child, $i] = @heap[$i, $child];
      $i = $child;
    }
  }
  @$top;
}
sub touch {
  my ($path, $delay, $asked) = @_;
  my $now = now();
  my $entry = $due{$path};
  if (!$entry) { $entry = $due{$path} = [$now + $delay, $now + $limits{cap}, 0, 1e300] }
  else {
    my $late = $entry->[1] > $now ? $entry->[1] : $now;
    $entry->[0] = $now + $delay < $late ? $now + $delay : $late;
  }
  if ($asked && !$entry->[2]) { $entry->[2] = 1; $waiting++ }
  if ($entry->[3] > $entry->[0]) {
    $entry->[3] = $entry->[0];
    push_heap($entry->[0], $path);
  }
}
sub later { my ($path, $entry, $when) = @_; $entry->[0] = $entry->[3] = $when; push_heap($when, $path) }
sub answered { my $entry = shift; $waiting-- if $entry->[2]; $entry->[2] = 0 }
sub work {
  my $most = shift;
  my $now = now();
  while (@heap && $most && $heap[0][0] <= $now) {
    my ($at, $path) = pop_heap();
    my $entry = $due{$path};
    next if !$entry || $entry->[3] != $at;
    if ($entry->[0] > $at) { later($path, $entry, $entry->[0]); next }
    $most--;
    if (!$entry->[2] && (my $wait = brake($path, $now))) { later($path, $entry, $now + $wait); next }
    if (my $again = check($path, $entry, $now)) { later($path, $entry, $now + $again) }
    else { answered($entry); delete $due{$path} }
  }
}
sub brake {
  my ($path, $now) = @_;
  my $state = $spent{$path} or return 0;
  $state->[0] += ($now - $state->[1]) * $limits{rate};
  $state->[0] = $limits{burst} if $state->[0] > $limits{burst};
  $state->[1] = $now;
  $state->[0] >= 1 ? 0 : (1 - $state->[0]) / $limits{rate};
}
sub pay {
  my ($path, $now) = @_;
  if (!$spent{$path}) {
    return if keys %spent >= 2000;
    $spent{$path} = [$limits{burst}, $now];
  }
  $spent{$path}[0]--;
}
sub nothing {
  my ($path, $entry, $mark, $reason) = @_;
  my $state = $mark eq "-" ? $reason : $mark;
  if ($entry->[2] || ($seen{$path} // "") ne $state) {
    $seen{$path} = $state;
    say_("N", $mark, $reason, quote($path));
  }
  0;
}
sub check {
  my ($path, $entry, $now) = @_;
  my $late = $now >= $entry->[1];
  my ($mark, $mode) = look($path);
  if (!defined $mark) {
    my $code = $! + 0;
    return nothing($path, $entry, "-", why($code)) unless $GONE{$code};
    if ($entry->[2] == 1) { $entry->[2] = 2; return $limits{hold} }
  }
  if (!defined $mark || ($mode & 0xf000) == 0x4000) {
    if (exists $seen{$path} || $entry->[2]) {
      delete $seen{$path};
      delete $spent{$path};
      say_("D", quote($path));
    }
    return 0;
  }
  return 0 if !$entry->[2] && ($seen{$path} // "") eq $mark;
  if (!exists $seen{$path} && keys %seen >= $limits{files}) {
    say_("N", "-", "limit", quote($path)) if $entry->[2];
    return 0;
  }
  if (($mode & 0xf000) == 0xa000) {
    my $target = readlink $path;
    return $limits{settle} unless defined $target;
    $seen{$path} = $mark;
    say_("K", $mark, length $target ? quote($target) : "%", quote($path));
    return 0;
  }
  return nothing($path, $entry, $mark, "special") unless ($mode & 0xf000) == 0x8000;
  my $f;
  if (!sysopen $f, $path, 0x80800 | $NOFOLLOW) {
    my $code = $! + 0;
    return $GONE{$code} ? $limits{settle} : nothing($path, $entry, $mark, why($code));
  }
  my ($before, $kind) = look("", fileno $f);
  my ($file, $size, $ctime) = (which(), size_and_ctime());
  return $limits{settle} unless defined $before && ($kind & 0xf000) == 0x8000;
  return nothing($path, $entry, $mark, "huge") if $size > $limits{hashed};
  my $kept = $size <= $limits{bytes};
  my ($content, $digest) = ("");
  if ($kept) {
    while (length $content <= $size) {
      my $n = sysread $f, $content, $size + 1 - length $content, length $content;
      return nothing($path, $entry, $mark, why($! + 0)) unless defined $n;
      last unless $n;
    }
  } else {
    my $pid = open my $from, "-|";
    if (defined $pid && !$pid) {
      open STDIN, "<&", $f;
      exec "sha256sum" or kill 9, $$;
    }
    ($digest) = (<$from> // "") =~ /^([0-9a-f]{64})/;
    close $from;
    return nothing($path, $entry, $mark, "huge") unless $digest;
  }
  my ($after) = look("", fileno $f);
  my ($there) = look($path);
  close $f;
  return $limits{settle} unless defined $there;
  my $whole = $before eq $after && which() eq $file;
  return $limits{settle} if !$whole && !$late;
  my $recent = wall() - $ctime < 50000000;
  $seen{$path} = !$whole ? 0 : $recent ? "~$before" : $before;
  if ($kept) { say_("F", $before, length $content ? base64($content) : "-", quote($path)) }
  else { say_("H", $before, $digest, quote($path)) }
  pay($path, $now);
  if (!$whole) { $entry->[1] = $now + $limits{cap}; return $limits{cap} / 2 }
  0;
}

sub events {
  while (1) {
    my $n = sysread $in, my $data, 65536;
    return unless $n;
    my $at = 0;
    while ($at < $n) {
      my ($wd, $mask, undef, $size) = unpack "l L L L", substr $data, $at, 16;
      my $name = substr $data, $at + 16, $size;
      $name =~ s/\0+$//;
      $at += 16 + $size;
      if ($mask & $OVERFLOW) { say_("O", "overflow"); return resync() }
      return if defined $wds{$wd} && event($wds{$wd}, $wd, $mask, $name);
    }
    return if $n < 32768;
  }
}
sub event {
  my ($folder, $wd, $mask, $name) = @_;
  if (!length $name) {
    if ($mask & $LOST && exists $places{$folder}) {
      say_("O", "root");
      select undef, undef, undef, $limits{moved};
      resync();
      return 1;
    }
    if ($mask & $IGNORED) {
      delete $wds{$wd};
      if (($dirs{$folder} // -1) == $wd) { delete $dirs{$folder}; forget($folder) }
    }
    return 0;
  }
  my $path = below($folder) . $name;
  my $covering = scopes($folder);
  if ($mask & $ISDIR) {
    if (is_root($path)) { resync(); return 1 }
    return 0 unless wants($path, $covering, 1);
    if ($mask & ($FROM | $DELETE)) { forget($path) }
    elsif ($mask & ($CREATE | $TO) || ($mask & $ATTRIB && (exists $told{$path} || ($dirs{$path} // -1) < 0))) {
      scan($path, \&known_or_new, 0);
    }
    return 0;
  }
  return 0 unless wants($path, $covering) || is_root($path);
  if ($mask & ($DELETE | $FROM)) { touch($path, $limits{hold}) }
  elsif ($mask & $CLOSE_WRITE) { touch($path, $limits{settle}) }
  elsif ($mask & $TO) { touch($path, $limits{moved}) }
  elsif ($mask & $CREATE) {
    my ($mark, $mode) = look($path);
    touch($path, ($mode & 0xf000) == 0x8000 && links() == 1 ? $limits{modify} : $limits{moved}) if defined $mark;
  }
  elsif ($mask & $MODIFY) { touch($path, $limits{modify}) }
  elsif (!exists $due{$path}) { touch($path, $limits{settle}) }
  0;
}

sub command {
  my ($word, $rest) = split / /, $_[0], 2;
  if ($word eq "L") {
    @limits{qw(files bytes hashed settle moved modify cap hold burst rate poll check beat)} = split / /, $rest;
  } elsif ($word eq "R") {
    my ($recursive, $include, $exclude, $path) = split / /, $rest;
    ($include, $exclude) = map { my $p = unquote($_); $_ eq "-" ? undef : qr/\A(?:$p)/s } $include, $exclude;
    push @roots, [unquote($path), $recursive, $include, $exclude];
  } elsif ($word eq "W") { restart(\&baseline); tree() }
  elsif ($word eq "M") { tree(1) }
  elsif ($word eq "G") { touch(unquote($rest), 0, 1) }
  elsif ($word eq "Q") { push @questions, $rest }
}

$SIG{PIPE} = sub { exit 0 };
my @ends = look("/");
exit 5 unless @ends;
say_("I", "infrastructor-agent", 1, "perl", wall());
flush_out();
my ($part, $looked, $compared, $spoke) = ("", 0, 0, 0);
my $began = 0;
while (1) {
  my $now = now();
  my $wait = 3600;
  my $bits = "";
  vec($bits, 0, 1) = 1;
  if ($fd >= 0) {
    $looked = $compared = $spoke = $now unless $began++;
    vec($bits, $fd, 1) = 1;
    my $next = $looked + $limits{poll};
    for ($compared + $limits{check}, $spoke + $limits{beat}, @heap ? $heap[0][0] : ()) { $next = $_ if $_ < $next }
    $wait = $next > $now ? $next - $now : 0;
  }
  my $got = select $bits, undef, undef, $wait;
  $bits = "" if $got <= 0;
  if ($got > 0 && vec($bits, 0, 1)) {
    sysread(STDIN, $part, 65536, length $part) or exit 0;
    my @lines = split /\n/, $part, -1;
    $part = pop @lines;
    command($_) for @lines;
  }
  next if $fd < 0;
  events() if $got > 0 && vec($bits, $fd, 1);
  work(200);
  $now = now();
  if (@questions && !$waiting) {
    say_("Q", $_) for @questions;
    @questions = ();
  }
  if ($now - $looked >= $limits{poll}) {
    $looked = $now;
    for (keys %spent) { delete $spent{$_} if ($now - $spent{$_}[1]) * $limits{rate} > $limits{burst} }
    polled();
  }
  if ($now - $compared >= $limits{check}) { $compared = $now; tree() }
  if (@out) { $spoke = $now }
  elsif ($now - $spoke >= $limits{beat}) { $spoke = $now; say_("B", wall()) }
  flush_out();
}
