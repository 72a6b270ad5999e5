"""Capture under botocore, once somebody imports it: Bedrock's calls through boto3."""
