package batpak
