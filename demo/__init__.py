"""How the bundled space `mini` and its pictures are made: `python -m demo.make`, explained in demo/README.md."""
