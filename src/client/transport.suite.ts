/** Tests that every transport must pass, with the same handler as the server. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { DirectHandler, DirectRequest, DirectResponse, DirectSink } from './direct.ts';
import type { Transport } from './transport.ts';
import { isTransportError } from './transport-error.ts';

interface TransportUnderTest {
  readonly transport: Transport;
  stop(): Promise<void>;
}

const WHOLE = { 'content-type': 'application/json' };

export function transportSuite(
  name: string,
  open: (handler: DirectHandler) => Promise<TransportUnderTest>,
): void {
  describe(`transport: ${name}`, () => {
    let answer: (request: DirectRequest) => Promise<DirectResponse> | DirectResponse;
    let under: TransportUnderTest;
    let transport: Transport;

    beforeEach(async () => {
      under = await open(async (request) => answer(request));
      transport = under.transport;
    });
    afterEach(() => under.stop());

    it('transfers method, path, query, headers, body and status', async () => {
      answer = async (request) => ({
        status: 201,
        headers: { ...WHOLE, 'x-seen': request.headers['x-mine'] ?? '' },
        body: Buffer.from(
          [request.method, request.path, request.query, (await request.body(1_000)).toString()].join(' '),
        ),
      });
      const response = await transport.request({
        method: 'POST',
        path: '/a%2Fb?c=d&e',
        headers: { 'x-mine': 'yes' },
        body: 'smörgås',
      });
      assert.equal(response.status, 201);
      assert.equal(response.headers['x-seen'], 'yes');
      assert.equal((await response.bytes()).toString(), 'POST /a%2Fb c=d&e smörgås');
    });

    it('joins a body of several pieces, and an empty one', async () => {
      answer = (request) => ({
        status: 200,
        headers: WHOLE,
        body: request.path === '/empty' ? Buffer.alloc(0) : [Buffer.from('[1,'), Buffer.from('2]')],
      });
      assert.equal(
        (await (await transport.request({ method: 'GET', path: '/' })).bytes()).toString(),
        '[1,2]',
      );
      assert.equal((await (await transport.request({ method: 'GET', path: '/empty' })).bytes()).length, 0);
    });

    it('keeps concurrent requests apart, answered out of order', async () => {
      answer = async (request) => {
        const number = Number(request.path.slice(1));
        for (let turn = 0; turn < 50 - (number % 50); turn += 1)
          await new Promise((resolve) => setImmediate(resolve));
        return { status: 200, headers: WHOLE, body: Buffer.from(`answer ${number}`) };
      };
      const texts = await Promise.all(
        Array.from({ length: 500 }, async (_, number) =>
          (await (await transport.request({ method: 'GET', path: `/${number}` })).bytes()).toString(),
        ),
      );
      assert.deepEqual(
        texts,
        texts.map((_, number) => `answer ${number}`),
      );
    });

    it('streams while the handler is still writing, and ends with it', async () => {
      let sink: DirectSink | undefined;
      answer = () => ({
        status: 200,
        headers: WHOLE,
        body: (opened) => {
          sink = opened;
          opened.write(Buffer.from('one'));
        },
      });
      const response = await transport.request({ method: 'GET', path: '/' });
      const seen: string[] = [];
      for await (const chunk of response.stream()) {
        seen.push(chunk.toString());
        if (seen.length === 1) sink!.write(Buffer.from('two'));
        else sink!.end();
      }
      assert.deepEqual(seen, ['one', 'two']);
    });

    it('applies back-pressure when the reader is slow, and loses nothing', async () => {
      const chunk = Buffer.alloc(64 * 1024, 7);
      const total = 512;
      let heldBack = 0;
      let most = 0;
      answer = () => ({
        status: 200,
        headers: WHOLE,
        body(sink) {
          void (async () => {
            for (let sent = 0; sent < total && !sink.closed; sent += 1) {
              if (!sink.write(chunk)) {
                heldBack += 1;
                most = Math.max(most, sink.bufferedBytes);
                await sink.drained();
              }
            }
            sink.end();
          })();
        },
      });
      let bytes = 0;
      for await (const piece of (await transport.request({ method: 'GET', path: '/' })).stream()) {
        bytes += piece.length;
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.equal(bytes, total * chunk.length);
      assert.ok(heldBack > 0, 'back-pressure reached the writer');
      assert.ok(most < 4 * 1024 * 1024, `at most a window waits, not ${most} bytes`);
    });

    it('aborts the handler when the reader cancels a stream', async () => {
      const gone = Promise.withResolvers<void>();
      answer = () => ({
        status: 200,
        headers: WHOLE,
        body: (sink) => {
          sink.onClose(() => gone.resolve());
          sink.write(Buffer.from('one'));
        },
      });
      for await (const _chunk of (await transport.request({ method: 'GET', path: '/' })).stream()) break;
      await gone.promise;
    });

    it("rejects with the signal's reason before, while waiting and while streaming, and aborts the handler", async () => {
      const reason = new Error('changed my mind');
      await assert.rejects(
        transport.request({ method: 'GET', path: '/', signal: AbortSignal.abort(reason) }),
        reason,
      );

      const aborted = Promise.withResolvers<void>();
      const arrived = Promise.withResolvers<void>();
      answer = (request) => {
        request.onAbort(() => aborted.resolve());
        arrived.resolve();
        return new Promise(() => {});
      };
      const waiting = new AbortController();
      const rejected = assert.rejects(
        transport.request({ method: 'GET', path: '/', signal: waiting.signal }),
        reason,
      );
      await arrived.promise;
      waiting.abort(reason);
      await rejected;
      await aborted.promise;

      const gone = Promise.withResolvers<void>();
      answer = () => ({
        status: 200,
        headers: WHOLE,
        body: (sink) => {
          sink.onClose(() => gone.resolve());
          sink.write(Buffer.from('one'));
        },
      });
      const streaming = new AbortController();
      const response = await transport.request({ method: 'GET', path: '/', signal: streaming.signal });
      await assert.rejects(async () => {
        for await (const _chunk of response.stream()) streaming.abort(reason);
      }, reason);
      await gone.promise;
    });

    it('fails open and later requests when closed', async () => {
      const arrived = Promise.withResolvers<void>();
      answer = () => {
        arrived.resolve();
        return new Promise(() => {});
      };
      const rejected = assert.rejects(transport.request({ method: 'GET', path: '/' }), (error) =>
        isTransportError(error, 'closed'),
      );
      await arrived.promise;
      await transport.close();
      await rejected;
      await assert.rejects(transport.request({ method: 'GET', path: '/' }), (error) =>
        isTransportError(error, 'closed'),
      );
    });
  });
}
