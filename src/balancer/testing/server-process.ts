/** For tests only: an API server as far as a balancer sees one, as a process that can be killed and stopped. Argument: its settings in JSON. */
import * as http2 from 'node:http2';

export interface ServerProcessSettings {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly cert: string;
  readonly key: string;
}

const { name, host, port, cert, key } = JSON.parse(process.argv[2] ?? '{}') as ServerProcessSettings;
const server = http2.createSecureServer({ cert, key, allowHTTP1: true }, (_, response) => response.end(name));
server.listen(port, host, () => console.log('listening'));
