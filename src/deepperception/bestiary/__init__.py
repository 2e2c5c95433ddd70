"""The built-in world for laptops and tests: creatures drawn on demand, a small knowledge base, a tiny base model."""
