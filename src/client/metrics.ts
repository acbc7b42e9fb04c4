/** Client requests as upstream's rest_client_* metrics, counted for any transport. */
import { Counter, Histogram, label } from '#stdx/instruments.ts';
import type { Transport, TransportRequest, TransportResponse } from './transport.ts';

const SECONDS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];
const BYTES = [64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216];

export class RestClientMetrics {
  readonly #requests = new Counter(
    'rest_client_requests_total',
    'Requests to the API server, by code, method and host.',
  );
  readonly #seconds = new Histogram('rest_client_request_duration_seconds', {
    help: 'Time to the response of a request to the API server, by verb and host.',
    bounds: SECONDS,
  });
  readonly #size = new Histogram('rest_client_request_size_bytes', {
    help: 'Size of request bodies, by verb and host.',
    bounds: BYTES,
  });
  readonly #responseSize = new Histogram('rest_client_response_size_bytes', {
    help: 'Size of response bodies that were read whole, by verb and host.',
    bounds: BYTES,
  });

  /** host: that of the API server, for the label. */
  measured(transport: Transport, host: string): Transport {
    return {
      request: (request) => this.#measure(request, { transport, host }),
      close: () => transport.close(),
    };
  }

  render(): string[] {
    return [this.#requests, this.#seconds, this.#size, this.#responseSize].flatMap((one) => one.render());
  }

  async #measure(
    request: TransportRequest,
    { transport, host }: { readonly transport: Transport; readonly host: string },
  ): Promise<TransportResponse> {
    const { method, body } = request;
    const labels = `${label('host', host)},${label('verb', method)}`;
    const startedMs = performance.now();
    const count = (code: string): void =>
      this.#requests.add(`${label('code', code)},${label('host', host)},${label('method', method)}`);
    if (body !== undefined) this.#size.observe(labels, Buffer.byteLength(body));
    try {
      const response = await transport.request(request);
      count(String(response.status));
      return {
        status: response.status,
        headers: response.headers,
        stream: () => response.stream(),
        bytes: async () => {
          const bytes = await response.bytes();
          this.#responseSize.observe(labels, bytes.length);
          return bytes;
        },
      };
    } catch (error) {
      count('<error>');
      throw error;
    } finally {
      this.#seconds.observe(labels, (performance.now() - startedMs) / 1000);
    }
  }
}
