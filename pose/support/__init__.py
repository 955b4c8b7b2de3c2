"""What every part may use: errors, whole files, locks, downloads, progress, the device."""
