"""`/rpc/<function>`, as PostgREST's clients know it: request, schema cache, statement, answers."""
