package vfs

// An osFile is a regular file of the operating system.
type osFile struct {
	f    *handle
	size int64  // when it was opened
	win  window // see OverwriteAt
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f *osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *osFile) Sync() error                              { return f.f.sync() }

// Truncate takes the window away first: nobody is to store behind the end.
func (f *osFile) Truncate(size int64) error {
	f.win.close()
	return f.f.Truncate(size)
}

// Close takes the window away last: no other can be had then.
func (f *osFile) Close() error {
	err := f.f.Close()
	f.win.close()
	return err
}

func (f *osFile) closeWindow() { f.win.close() }

func (f *osFile) openSize() int64 { return f.size }

// OpenSize returns the size in bytes that f had when it was opened, which every open learns on the way: for who has just
// opened it, it is [File.Size] without a call.
//
// Errors: those of Size, from a file that does not know.
func OpenSize(f File) (int64, error) {
	if h, ok := f.(*hold); ok {
		f = h.shared.file
	}
	if f, ok := f.(interface{ openSize() int64 }); ok {
		return f.openSize(), nil
	}
	return f.Size()
}

func (f *osFile) Size() (int64, error) {
	s, err := f.f.status()
	return s.size, err
}
