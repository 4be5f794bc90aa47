package main

import "github.com/spf13/cobra"

func (a *app) installCommand() *cobra.Command { return &cobra.Command{Use: "install"} }
func (a *app) resetCommand() *cobra.Command   { return &cobra.Command{Use: "reset"} }
