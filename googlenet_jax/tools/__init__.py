"""What is asked of a network, trained or only described; the program and the library call these."""
