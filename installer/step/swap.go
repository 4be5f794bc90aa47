package step

// Swap switches swap off, now and after a reboot: the kubelet refuses to start
// with it. Lines of /etc/fstab are commented out; Undo restores them.
type Swap struct{}

// Kind returns "swap".
func (s *Swap) Kind() string { return "swap" }

// Describe says what will be so.
func (s *Swap) Describe() string { return "swap off" }

// Validate has nothing to check.
func (s *Swap) Validate() error { return nil }
