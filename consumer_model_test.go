package batpak_test

func positionsBehindDurable() error { return nil }
