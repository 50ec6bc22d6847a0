"""Where networks come from: the catalogue, the sources of files, the folder they are kept in."""
