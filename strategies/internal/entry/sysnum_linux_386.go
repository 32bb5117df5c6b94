package entry

// Since Linux 4.3; before, there was one call for all of sockets.
const (
	_SYS_SENDTO   = 369
	_SYS_RECVFROM = 371
)
