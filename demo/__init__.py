"""How the bundled space `mini` and its images are made: `python -m demo.make`, explained in demo/README.md."""
