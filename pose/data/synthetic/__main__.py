"""``python -m pose.data.synthetic``."""

from pose.data.synthetic.render import main

main()
