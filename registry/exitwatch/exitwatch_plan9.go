package exitwatch

import (
	"errors"
	"os"
)

func watch(*os.Process) (<-chan struct{}, error) { return nil, errors.ErrUnsupported }
