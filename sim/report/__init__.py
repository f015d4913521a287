"""The output about simulated runs: a summary, JSON, JUnit's XML, a page for a browser, and progress.

write_report(Path("report"), [(outcome, record)])  # report/index.html
print("\n".join(summary([outcome], Paint(sys.stdout))))
"""
