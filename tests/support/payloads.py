"""Values that try to become something else on their way through shells."""

import random

_CORE = r"""
; touch CANARY
| touch CANARY
&& touch CANARY
|| touch CANARY
& touch CANARY
$(touch CANARY)
`touch CANARY`
'; touch CANARY; '
"; touch CANARY; "
'"; touch CANARY; "'
\'; touch CANARY #
\'; touch CANARY; \'
'\''; touch CANARY; '
' $(touch CANARY) '
"$(touch CANARY)"
\' (touch CANARY) '
\'$(touch CANARY)\'
\x27; touch CANARY; \x27
(touch CANARY)
; (touch CANARY) ;
{ touch CANARY; }
end; touch CANARY; begin
$IFS$9touch$IFS CANARY
<(touch CANARY)
>(touch CANARY)
> CANARY
>CANARY
2>CANARY
>>CANARY
$'\n'touch CANARY
${x:-$(touch CANARY)}
$((touch CANARY))
％; touch CANARY
＇; touch CANARY; ＇
‘; touch CANARY;’
eval touch CANARY
exec touch CANARY
-oProxyCommand=touch CANARY
--checkpoint-action=exec=touch CANARY
-exec touch CANARY ;
!!
!touch
!-1
!$
^a^b
=ls
~
~root
*
?
[a-z]
{a,b}
{1..9}
$HOME
${IFS}
$$
$?
$0
$@
%s%n%d
%00
\
\\
\\'
\n
\0
#
# comment
-
--
-rf
--help
-n
-e
'
"
`
''
""
'"'
a b
a  b
 leading
@
%
:
|
&
;
<
>
(
)
{
}
[
]
nine 9 nine
é
grün €
日本語
🙂
"""
_CONTROL = [
    "trailing ",
    "",
    "\n",
    "\r\n",
    "\t",
    "a\nb",
    "a\\\nb",
    "\\\n",
    "\ntouch CANARY\n",
    "\r\ntouch CANARY\r\n",
    "x'\ntouch CANARY\n'",
    'x"\ntouch CANARY\n"',
    "EOF\ntouch CANARY\nEOF",
    "\x01\x02\x03",
    "\x03",
    "\x04",
    "\x1b[31m",
    "\x1b]0;touch CANARY\x07",
    "\x7f",
    "\u202e",
    "\u2028",
    "\u00a0",
    "\ufeff",
    "\U000e0041",
    "x" * 5000,
    "'" * 500,
    "\n" * 300,
]
_ALPHABET = "'\"\\;&|$`()\n !#*?~<>{}[]^=%@abc-\t"


def payloads(canary: str, count: int = 330) -> list[str]:
    """At least `count` of them, the same ones every time; none of them may touch the canary."""
    found = [*_CORE.strip("\n").split("\n"), *_CONTROL]
    dice = random.Random(20261120)
    while len(found) < count:
        body = "".join(dice.choice(_ALPHABET) for _ in range(dice.randint(1, 14)))
        found.append(body + dice.choice(["", "; touch CANARY; #", "$(touch CANARY)", "\ntouch CANARY\n"]))
    return [text.replace("CANARY", canary) for text in found]
