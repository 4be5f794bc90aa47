package bundle

// Stored returns in with the directory of the files that its Open returns.
func Stored(in SealInput, dir string) SealInput {
	in.stored = dir
	return in
}
