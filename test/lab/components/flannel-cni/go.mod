// Lab only: the CNI plugin called flannel, last part of the plugins module at this version.
module offk8s.lab/flannel-cni

go 1.26.5

require (
	github.com/Microsoft/go-winio v0.4.11 // indirect
	github.com/Microsoft/hcsshim v0.8.6 // indirect
	github.com/buger/jsonparser v0.0.0-20180808090653-f4dd9f5a6b44 // indirect
	github.com/containernetworking/cni v0.8.0 // indirect
	github.com/containernetworking/plugins v0.8.7 // indirect
	github.com/sirupsen/logrus v1.0.6 // indirect
	golang.org/x/crypto v0.0.0-20181009213950-7c1a557ab941 // indirect
	golang.org/x/sys v0.0.0-20190616124812-15dcb6c0061f // indirect
)

tool github.com/containernetworking/plugins/plugins/meta/flannel
