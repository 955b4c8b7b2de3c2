"""``python -m pose.data.obtain``."""

from pose.data.obtain.fetch import main

main()
