/** Errors of Node's sockets that several clients react to. */

/** The peer closed or reset the connection: a request on it may be sent again where the caller allows that. */
export function isBrokenConnection(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ECONNRESET' || code === 'EPIPE';
}
