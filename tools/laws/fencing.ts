/**
 * What runs under leader election gets its clients, which refuse writes once the lease may be over (src/client/fenced-client.ts): it makes none of its own. Where its
 * programs are put together a client may be made, by one that asks mayWrite.
 */
import { placesOf, type Law } from './law.ts';

const LED = /^src\/(?:controllers|scheduler|addons\/local-path)\//;
const COMPOSED = /^src\/cmd\/(?:controller-manager|scheduler)\//;
const MADE = /\b(?:createClient|create\w*Transport|openTransport|openKubeconfig)\(/g;

export const fencing: Law = {
  name: 'fencing',
  about: 'what runs under leader election makes no client that writes without asking the lease',
  find: (sources) =>
    [...sources.values()]
      .filter(({ isTest }) => !isTest)
      .filter(({ path, text }) => LED.test(path) || (COMPOSED.test(path) && !/\bmayWrite\b/.test(text)))
      .flatMap((source) => placesOf(source, MADE, ([call]) => `makes a connection by ${call}…)`)),
};
