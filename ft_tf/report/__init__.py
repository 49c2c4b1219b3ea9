"""Tables and figures, the paper's numbers beside ours, from records alone."""

from ft_tf.report.build import build, fill_readme, render_terminal
from ft_tf.report.verdict import summary_line

__all__ = ["build", "fill_readme", "render_terminal", "summary_line"]
