//go:build faultinject

package batpak

import "batpak/fault"

// InjectFaults makes the store that these options open ask inj at every point of package fault. It exists under the
// build tag faultinject only.
func (o *Options) InjectFaults(inj fault.Injector) { o.hook = fault.NewHook(inj) }
