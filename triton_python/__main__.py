"""`python -m triton_python` is the command `triton-python`."""

from triton_python._cli import main

if __name__ == "__main__":
    main()
