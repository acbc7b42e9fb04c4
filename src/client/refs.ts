/** The typed reference of every built-in resource, as the client takes them: `api.list(pods, { namespace })`. */
export * from '#api/refs.ts';
