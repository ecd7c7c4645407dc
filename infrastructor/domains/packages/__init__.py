"""Packages: pending updates by apt, dnf, yum, apk and pacman, and whether a reboot is due."""
