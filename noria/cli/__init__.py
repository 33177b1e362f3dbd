"""The command line: reads arguments, calls one verb of another folder, prints. No work is done here."""
