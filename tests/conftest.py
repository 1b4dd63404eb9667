"""One thread a process: small tensors are slower on two, and several tests start processes of their own."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
