"""Packages: pending updates by apt, dnf, yum, zypper, apk and pacman, and whether a reboot is due."""
