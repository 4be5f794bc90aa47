package manifests

func (m *Manifest) Validate() []Problem { return nil }
func (c *Cluster) Validate() []Problem  { return nil }
func isLabelKey(string) bool            { return true }
