package coldstart

// sideFiles checks the files that hold facts beside the log, every byte of them. Whether they say what the log says is
// not looked at: compaction may have taken the frames that would tell.
func (v *verifier) sideFiles() error {
	if _, err := v.readHidden(); err != nil {
		if err := v.found(err); err != nil {
			return err
		}
	}
	table, err := v.readIdemp()
	if err != nil {
		return v.found(err)
	}
	if table == nil {
		return nil
	}
	defer table.Close()
	for _, err := range table.All() {
		if err != nil {
			return v.found(err)
		}
	}
	return nil
}
