"""The semantic answer cache: which kept question means the same, and what speaks against serving its answer."""
