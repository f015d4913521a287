"""This script prints the README's configuration table."""

from minicloud.config.table import markdown

print(markdown())
