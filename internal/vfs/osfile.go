package vfs

// An osFile is a regular file of the operating system.
type osFile struct {
	f    *handle
	size int64 // when it was opened
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f *osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *osFile) Truncate(size int64) error                { return f.f.Truncate(size) }
func (f *osFile) Sync() error                              { return f.f.sync() }
func (f *osFile) Close() error                             { return f.f.Close() }

func (f *osFile) openSize() int64 { return f.size }

// OpenSize returns the size in bytes that f had when it was opened, which every open learns on the way: for who has just
// opened it, it is [File.Size] without a call.
//
// Errors: those of Size, from a file that does not know.
func OpenSize(f File) (int64, error) {
	if f, ok := f.(interface{ openSize() int64 }); ok {
		return f.openSize(), nil
	}
	return f.Size()
}

func (f *osFile) Size() (int64, error) {
	s, err := f.f.status()
	return s.size, err
}
