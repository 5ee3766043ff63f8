package batpak

import (
	"context"
	"fmt"

	"batpak/coldstart"
)

// Verify reads every byte of the store in dir and checks what can be checked: checksums, hash chains, batch digests,
// sequences and clocks, Merkle roots, indexes against the frames that they index. It changes nothing, takes no lock,
// and works on stores that Open refuses as well as beside a live writer. A nil error means that it could look at
// everything; whether it found anything is in the report.
//
// Errors: *[OptionError]; the error of ctx; I/O errors.
func Verify(ctx context.Context, dir string, o *Options) (coldstart.VerifyReport, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return coldstart.VerifyReport{}, err
	}
	report, err := coldstart.Verify(ctx, coldstart.VerifyConfig{FS: opts.fs, Dir: dir, Progress: toldTo(opts.Progress)})
	if err != nil {
		return report, fmt.Errorf("verify store %s: %w", dir, err)
	}
	return report, nil
}
