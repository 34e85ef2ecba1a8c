/**
 * The one table of what `facet serve` can be told. Each entry is a flag and a `FACET_*` variable of its name
 * (`maxQueue`: `--max-queue`, `FACET_MAX_QUEUE`), a parser, a default and a line of help; the type of the
 * configuration follows from the table. Reading it is config.ts's business.
 */
import { availableCores } from '../host/cpu-quota.js'
import { packageFile, SHIPPED_FAMILIES } from '../host/package.js'
import { bytes, choice, count, duration, showBytes, showDuration, text } from './quantities.js'
import { batch, device, domains, host, MAX_COUNT, origins, proxies, rate, share, yesOrNo } from './values.js'

export interface Setting<Value, Default extends Value | undefined> {
  /** Heading in the help. */
  group: string
  /** What stands for the value in the help. */
  value: string
  /** @throws QuantityError that says what is accepted */
  parse(text: string): Value
  /** Undefined where there is none, or where it depends on another setting. */
  default: Default
  /** The default as the help shows it. */
  shown: string
  /** The value of a flag that is given without one; most flags need one. */
  alone?: string
  /** The flag may be given several times: its values are lists, which are joined. */
  repeats?: true
  help: string
}

/** Threads of libuv's pool, where images are decoded and files are read; fixed when the process starts. */
export function poolThreads(): number {
  return Number(process.env.UV_THREADPOOL_SIZE) || 4
}

const listening = 'Listening:'
const serving = 'What is served:'
const engine = 'Engine and bank:'
const queue = 'Queue and deadlines:'
const limits = 'Limits on requests:'
const access = 'Access:'
const observing = 'Logs and metrics:'

const cores = availableCores()
/** Upper bound of sizes that nothing else bounds. */
const MAX_SIZE = 2 ** 40
/** Images of one domain in the service at once, where --max-queue is not less. */
export const DOMAIN_QUEUE = 512

export const settings = {
  host: setting(
    listening,
    'address',
    host,
    '127.0.0.1',
    '127.0.0.1',
    'beyond loopback the control plane needs a token',
  ),
  port: number(listening, count(0, 65_535), 8080, 'TCP port; 0 takes a free one'),
  maxConnections: number(
    listening,
    count(1, MAX_COUNT),
    1024,
    'open connections; for more, silent ones are closed',
  ),
  maxConnectionsPerPeer: setting(
    listening,
    'n',
    count(1, MAX_COUNT),
    undefined,
    'a quarter of --max-connections',
    'open connections of one address, trusted proxies excepted; more are refused',
  ),
  keepAlive: time(listening, 1, 72_000, 'an idle connection is kept this long'),
  receiveTimeout: time(listening, 100, 30_000, 'a request must have arrived whole within'),
  gracePeriod: time(listening, 0, 25_000, 'after SIGTERM, time to answer what is in flight'),

  family: folders(
    SHIPPED_FAMILIES.map((name) => packageFile(`models/${name}`)),
    `${SHIPPED_FAMILIES.map((name) => `models/${name}`).join(' and ')} of the package`,
    'a family: trunk, manifest, base; given several times, or separated by commas, for several families',
  ),
  adapters: folders(
    undefined,
    'adapters/ of the package and the name of each family folder',
    'shipped packs of any of the families, read only; a folder you name must be there; several as with --family',
  ),
  data: {
    ...words(serving, 'folder', undefined, 'the store of registered packs, made where it is missing'),
    shown: 'data/ and the name of the first family folder',
  },
  strictStore: {
    ...setting(
      serving,
      'yes|no',
      yesOrNo,
      false,
      'no',
      'never ready while the store has problems (docs/store.md)',
    ),
    alone: 'yes',
  },
  keepVersions: number(serving, count(1, 1000), 5, 'versions a domain keeps, the active one included'),
  storeQuota: size(serving, [1, 1024 * MAX_SIZE], Number.POSITIVE_INFINITY, 'bytes of packs in the store'),

  device: setting(engine, 'device', device, { kind: 'cpu' }, 'cpu', 'cpu, cuda or cuda:NUMBER'),
  runtime: setting(
    engine,
    'name',
    choice(['auto', 'native', 'stock']),
    'auto',
    'auto',
    'what runs the trunk: native, one trunk for all lanes (npm run native:build); stock, onnxruntime-node; auto: native where it is built',
  ),
  precision: setting(
    engine,
    'name',
    choice(['fp32', 'fp16', 'int8', 'auto']),
    'fp32',
    'fp32',
    'what the trunk computes with: fp32; fp16, for GPUs, where the family has such graphs (facet family halve); int8 for its frozen convolutions, where the family has such graphs (facet family quantize); auto: int8 where they were measured on every domain they were made for and none lost more than half a point',
  ),
  threads: number(engine, count(1, 1024), cores, 'threads of all runs', 'the cores this process may use'),
  lanes: setting(
    engine,
    'n',
    count(1, 64),
    undefined,
    'one a thread on cpu, 8 at most; 1 on cuda',
    'runs side by side, which share --threads; with the stock runtime each holds the trunk once more',
  ),
  bank: setting(
    engine,
    'mode',
    choice(['shared', 'compact', 'device']),
    undefined,
    'shared on cpu; on cuda device with the native runtime, and compact without',
    "shared: batches of any size, and a second graph for those of one domain; compact: one graph, batches padded to few sizes, for devices that prepare for each new size; device: the same with adapters in the device's own memory, which is taken at the start (docs/gpu.md)",
  ),
  bankDtype: setting(
    engine,
    'dtype',
    choice(['f32', 'f16']),
    'f32',
    'f32',
    'numbers of resident adapters: f32, f16',
  ),
  bankMemory: size(
    engine,
    [1, MAX_SIZE],
    2 ** 30,
    'memory for resident adapters and heads, the base included',
  ),
  gpuMemory: size(
    engine,
    [2 ** 20, 1024 * MAX_SIZE],
    Number.POSITIVE_INFINITY,
    'of a device that has the bank: its memory for trunk, adapters and runs, of which each family has an equal part; less than they need refuses the start',
  ),
  tf32: {
    ...setting(
      engine,
      'yes|no',
      yesOrNo,
      false,
      'no',
      'a GPU that has the bank may round the factors of its products to 10 bits (TF32), which is several times as fast',
    ),
    alone: 'yes',
  },
  specialiseMemory: size(
    engine,
    [0, MAX_SIZE],
    0,
    'memory for dedicated networks of the domains with the most traffic, which then run faster; 0: none. Needs the native runtime',
  ),
  prewarm: setting(
    engine,
    'domains',
    domains,
    [],
    'none',
    'adapters that are loaded before the first request: domains separated by commas, the most important first; or last: those that were resident when the service ended',
  ),
  loadTimeout: time(engine, 1, 5000, 'a request waits at most this long for a cold adapter'),
  minResidency: time(
    engine,
    0,
    2000,
    'a loaded adapter stays at least this long; one that is asked for twice in this time leaves after those that are not',
  ),
  maxBatch: setting(
    engine,
    'n',
    batch,
    'auto',
    'auto',
    'most images of a run; auto: the smallest number within 5% of the best throughput, measured',
  ),

  maxQueue: number(
    queue,
    count(1, MAX_COUNT),
    2048,
    'images in the service at once: being decoded, waiting or running',
  ),
  maxQueuePerDomain: setting(
    queue,
    'n',
    count(1, MAX_COUNT),
    undefined,
    `${DOMAIN_QUEUE}, at most --max-queue`,
    'images in the service at once, of one domain',
  ),
  rateLimit: setting(queue, 'n', rate, 0, 'none', 'images a second of each domain; more are refused'),
  rateBurst: setting(
    queue,
    'n',
    count(1, MAX_COUNT),
    undefined,
    'the larger of --rate-limit and --max-images',
    'images of a domain at once after a pause, where --rate-limit is set',
  ),
  requestTimeout: time(queue, 1, 10_000, 'deadline of a request that names none'),
  maxRequestTimeout: time(queue, 1, 60_000, 'longest deadline a client may ask for'),

  maxBody: size(limits, [1024, 2 ** 30], 16 * 2 ** 20, 'body of a predict or embed request'),
  maxBodies: size(
    limits,
    [1024, MAX_SIZE],
    256 * 2 ** 20,
    'bodies of all predict and embed requests at once, as far as they have come',
  ),
  minBodyRate: size(
    limits,
    [0, 2 ** 20],
    4096,
    'bytes a second of a body, over any 5 seconds; 0 for no bound',
  ),
  maxPack: size(limits, [1024, 2 ** 30], 64 * 2 ** 20, 'body of a pack upload'),
  maxUploads: number(limits, count(1, 1000), 4, 'pack uploads at once'),
  maxProjectionError: setting(
    limits,
    'share',
    share,
    1,
    '1, any',
    'of its output that a slot may lose where a pack is projected on the bases of a compressed family; a pack that loses more is refused',
  ),
  maxHeader: size(limits, [1024, 2 ** 20], 16 * 2 ** 10, 'all header fields of a request'),
  maxImages: number(limits, count(1, 10_000), 64, 'images of one request'),
  maxImagePixels: number(limits, count(1, 1e9), 50_000_000, 'width x height of an image'),
  decodeThreads: number(
    limits,
    count(1, 1024),
    Math.max(1, Math.min(cores, poolThreads() - 1)),
    'images decoded at once; fewer than UV_THREADPOOL_SIZE',
    'the cores, at most 3',
  ),
  decodeMemory: size(
    limits,
    [16 * 2 ** 20, MAX_SIZE],
    512 * 2 ** 20,
    'memory for decoding images, of all at once; one that needs more by itself is refused',
  ),

  tokenFile: words(
    access,
    'file',
    undefined,
    'hashed tokens with scopes, one JSON object a line; read again when it changes',
  ),
  trustedProxy: setting(
    access,
    'addresses',
    proxies,
    [],
    'none',
    'proxies whose X-Forwarded-For is believed: addresses or networks, separated by commas',
  ),

  corsOrigin: {
    ...setting(
      access,
      'origin',
      origins,
      [],
      'none',
      'web pages of this origin may read the answers, such as https://app.example.com; * for all; several as with --family',
    ),
    repeats: true as const,
  },

  logLevel: setting(
    observing,
    'level',
    choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    'info',
    'info',
    'trace, debug, info, warn, error, fatal or silent',
  ),
  logFormat: setting(
    observing,
    'format',
    choice(['auto', 'json', 'pretty']),
    'auto',
    'auto',
    'json: a line of JSON each; pretty: for people; auto: pretty on a terminal, json elsewhere',
  ),
  predictionLog: words(
    observing,
    'file',
    undefined,
    'a line of JSON for each classified image: time, request, domain, version, label, score (docs/operate.md)',
  ),
  predictionLogSize: size(
    observing,
    [4096, MAX_SIZE],
    64 * 2 ** 20,
    'size at which the prediction log is rotated',
  ),
  predictionLogFiles: number(observing, count(1, 1000), 5, 'rotated prediction logs that are kept'),
  metricsMaxDomains: number(observing, count(0, 10_000), 100, 'domains with a label of their own'),
}

/** Flag values as parsed; undefined where nothing was given and no default stands by itself. */
export type Flags = {
  [Key in keyof typeof settings]:
    | ReturnType<(typeof settings)[Key]['parse']>
    | Extract<(typeof settings)[Key]['default'], undefined>
}

function setting<Value, const Default extends Value | undefined>(
  group: string,
  value: string,
  parse: (text: string) => Value,
  standard: Default,
  shown: string,
  help: string,
): Setting<Value, Default> {
  return { group, value, parse, default: standard, shown, help }
}

function words<Default extends string | undefined>(
  group: string,
  value: string,
  standard: Default,
  help: string,
): Setting<string, Default> {
  return { group, value, parse: text, default: standard, shown: standard ?? 'none', help }
}

/** Folders, separated by commas; the flag may be repeated. */
function folders<Default extends readonly string[] | undefined>(
  standard: Default,
  shown: string,
  help: string,
): Setting<readonly string[], Default> {
  const parse = (value: string) => value.split(',').map((folder) => text(folder))
  return { group: serving, value: 'folder', parse, default: standard, shown, help, repeats: true }
}

function number(
  group: string,
  parse: (text: string) => number,
  standard: number,
  help: string,
  shown = String(standard),
): Setting<number, number> {
  return setting(group, 'n', parse, standard, shown, help)
}

function size(
  group: string,
  [least, most]: readonly [number, number],
  standard: number,
  help: string,
): Setting<number, number> {
  return setting(group, 'size', bytes(least, most), standard, showBytes(standard), help)
}

function time(group: string, least: number, standard: number, help: string): Setting<number, number> {
  return setting(group, 'time', duration(least), standard, showDuration(standard), help)
}
