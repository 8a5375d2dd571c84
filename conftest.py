"""Every test here may use the fixtures that plugin authors get."""

pytest_plugins = ["t2icli.testing"]
