"""The order of things: improve, try, promote, roll back. The only place that knows it.

In: a project. Out: releases and the reports that let them go live or did not. What each stage does stands in the stages' own folders.
"""
