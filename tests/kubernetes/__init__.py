"""deploy/kubernetes: what kubectl makes of it, against Kubernetes' schemas, the code, and NATS itself."""
