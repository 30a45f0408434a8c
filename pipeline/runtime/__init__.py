"""How an agent meets Kafka: loops, readers, dead letters, health and logs. It knows Kafka and the ports, no agent."""
