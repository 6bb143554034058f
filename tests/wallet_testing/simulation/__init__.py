"""The deterministic simulation: the unchanged engine among processes, clients and faults of a seed.

python -m wallet_testing.simulation --seed 7 --trace
"""
