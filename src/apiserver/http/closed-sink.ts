/** A streaming body's sink when its client is gone already. */
import type { ResponseSink } from './request.ts';

export const closedSink: ResponseSink = {
  write: () => false,
  drained: () => Promise.resolve(),
  bufferedBytes: 0,
  end: () => {},
  closed: true,
  onClose: (callback) => callback(),
};
