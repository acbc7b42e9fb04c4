/** Where a port of a Service leads. Pure. */
import type { EndpointSlice } from '#api/types.ts';
import type { Endpoint } from './model.ts';

/** That take connections: those that are ready, else those that end and still serve. */
export function endpointsOf(slices: readonly EndpointSlice[], portName: string): Endpoint[] {
  const all = slices.flatMap(({ ports = [], endpoints = [] }) => {
    const port = ports.find(({ name }) => (name ?? '') === portName)?.port;
    return port === undefined
      ? []
      : endpoints.map(({ addresses, conditions }) => ({ ip: addresses[0]!, port, conditions }));
  });
  const ready = all.filter(({ conditions }) => conditions?.ready ?? true);
  const serving = all.filter(({ conditions }) => conditions?.terminating && (conditions.serving ?? false));
  const found = new Map(
    (ready.length > 0 ? ready : serving).map(({ ip, port }) => [`${ip} ${port}`, { ip, port }]),
  );
  return [...found.values()].toSorted((a, b) => (a.ip === b.ip ? a.port - b.port : a.ip < b.ip ? -1 : 1));
}
