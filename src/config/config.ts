/**
 * The configuration of `facet serve`, read once from flags and environment and passed down.
 *
 * A flag beats its variable. An unknown flag and an unknown `FACET_*` variable are errors: a misspelt limit must
 * not be silently absent. Tokens are variables only, because every user of a machine sees the flags of its
 * processes.
 */
import { basename, join, resolve } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { largestBatch } from '../scheduler/batch-size.js'
import type { BankMode } from '../engine/plan.js'
import { deviceName } from '../engine/runtime/runtime.js'
import { packageFile } from '../host/package.js'
import { QuantityError, showBytes, showDuration } from './quantities.js'
import { DOMAIN_QUEUE, type Flags, poolThreads, type Setting, settings } from './settings.js'

/** The most images of a run; `fixed` where it is not to be measured. */
export interface BatchLimit {
  max: number
  fixed?: number
}

/** Read and checked. Durations are milliseconds, sizes bytes, folders absolute paths. */
export interface ServeConfig
  extends Omit<
    Flags,
    | 'adapters'
    | 'bank'
    | 'family'
    | 'data'
    | 'lanes'
    | 'maxBatch'
    | 'maxConnectionsPerPeer'
    | 'maxQueuePerDomain'
    | 'rateBurst'
    | 'threads'
    | 'tokenFile'
  > {
  /** The families' folders, the first family's first. */
  families: readonly [string, ...string[]]
  /** The folders of shipped packs, those of the first family first. */
  adapters: readonly string[]
  /** The folders were named, and so must be there. */
  adaptersGiven: boolean
  data: string
  /** The folder was named, and need not be that of the first family. */
  dataGiven: boolean
  bank: BankMode
  /** The mode was named, and no other will do. */
  bankGiven: boolean
  /** Runs side by side. */
  lanes: number
  /** Threads of one run. */
  threads: number
  maxBatch: BatchLimit
  maxConnectionsPerPeer: number
  maxQueuePerDomain: number
  rateBurst: number
  tokenFile?: string
  /** `FACET_ADMIN_TOKEN` */
  adminToken?: string
  /** `FACET_PREDICT_TOKEN` */
  predictToken?: string
}

/** Most lanes where --lanes is not given: each holds the trunk once more, and memory is what a family saves. */
const MAX_DEFAULT_LANES = 8

const adminVariable = 'FACET_ADMIN_TOKEN'
const predictVariable = 'FACET_PREDICT_TOKEN'

const moreHelp = `
Tokens (variables only, a process's flags are seen by all):
  ${adminVariable}    bearer token of the control plane; without one it is open to
                       this machine alone, and off when listening beyond loopback
  ${predictVariable}  bearer token of predict, embed and listings; without one
                       they are open

Signals:
  SIGTERM, SIGINT,     stop in order: no new connections, not ready, answer what is
  SIGHUP               in flight, exit 0; what hangs is killed (137) within
                       --grace-period and 2s
  a second one         ends the process at once, with the exit code of that signal;
                       so does one while the service starts`

/** What the commands read that call a service (`facet predict`). */
const CLIENT_PREFIX = 'FACET_CLIENT_'
/** Variables that Kubernetes sets in every pod beside a Service called `facet`; they are no options of ours. */
const serviceLink = /^FACET_(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP))/

/**
 * The `serve` command. Calls `action` with a checked configuration; a wrong one ends the command with a
 * message that names the flag or variable, its value and what is accepted.
 */
export function serveCommand(action: (config: ServeConfig) => Promise<void>): Command {
  const command = new Command('serve')
    .description('Serve the domains of a family, or of several, over HTTP.')
    .addHelpText('after', moreHelp)
    .showHelpAfterError('See facet serve --help.')
    .configureHelp({ optionDescription: describe })
  for (const [key, setting] of Object.entries<Setting<unknown, unknown>>(settings)) {
    const { value, alone } = setting
    command.addOption(
      new Option(`--${kebab(key)} ${alone === undefined ? `<${value}>` : `[${value}]`}`, setting.help)
        .preset(alone)
        .env(variable(key))
        .default(setting.default, setting.shown)
        .argParser(parser(setting))
        .helpGroup(setting.group),
    )
  }
  return command.action(async (flags: Flags) => {
    const config = complete(flags)
    const problem = unknownVariable() ?? conflict(config, flags)
    if (problem !== undefined) command.error(`error: ${problem}`)
    await action(config)
  })
}

function complete(flags: Flags): ServeConfig {
  const { family, adapters, data, tokenFile, bank, lanes, threads, maxBatch, rateBurst, ...rest } = flags
  const cuda = flags.device.kind === 'cuda'
  const sideBySide = lanes ?? (cuda ? 1 : lanesFor(threads))
  const families = family.map((folder) => resolve(folder)) as [string, ...string[]]
  const { [adminVariable]: adminToken, [predictVariable]: predictToken } = process.env
  return {
    ...rest,
    families,
    adapters: adapters?.map((folder) => resolve(folder)) ?? families.map(shippedPacks),
    adaptersGiven: adapters !== undefined,
    data: resolve(data ?? join('data', basename(families[0]))),
    dataGiven: data !== undefined,
    bank: bank ?? (cuda ? (rest.runtime === 'stock' ? 'compact' : 'device') : 'shared'),
    bankGiven: bank !== undefined,
    lanes: sideBySide,
    threads: Math.max(1, Math.floor(threads / sideBySide)),
    // A GPU may want large batches; on a CPU the measuring ends long before.
    maxBatch:
      maxBatch === 'auto' ? { max: largestBatch[cuda ? 'cuda' : 'cpu'] } : { max: maxBatch, fixed: maxBatch },
    maxConnectionsPerPeer: flags.maxConnectionsPerPeer ?? Math.ceil(flags.maxConnections / 4),
    maxQueuePerDomain: flags.maxQueuePerDomain ?? Math.min(DOMAIN_QUEUE, flags.maxQueue),
    rateBurst: rateBurst ?? Math.max(Math.ceil(flags.rateLimit), flags.maxImages),
    ...(tokenFile !== undefined && { tokenFile: resolve(tokenFile) }),
    ...(adminToken !== undefined && { adminToken }),
    ...(predictToken !== undefined && { predictToken }),
  }
}

/** The folder of the packs that are shipped for a family. */
function shippedPacks(family: string): string {
  return packageFile(`adapters/${basename(family)}`)
}

/** The lanes for so many threads: at most `MAX_DEFAULT_LANES`, with as few threads left over as possible. */
function lanesFor(threads: number): number {
  return Math.floor(threads / Math.ceil(threads / MAX_DEFAULT_LANES))
}

function unknownVariable(): string | undefined {
  const known = new Set([...Object.keys(settings).map(variable), adminVariable, predictVariable])
  const unknown = Object.keys(process.env).find((name) => {
    return (
      name.startsWith('FACET_') &&
      !known.has(name) &&
      !serviceLink.test(name) &&
      !name.startsWith(CLIENT_PREFIX)
    )
  })
  return unknown && `unknown environment variable '${unknown}'`
}

/** A contradiction between options whose values are right by themselves. */
function conflict(config: ServeConfig, given: Flags): string | undefined {
  const { maxImages, maxQueue, maxQueuePerDomain, requestTimeout, maxRequestTimeout, decodeThreads } = config
  const { maxBody, maxBodies, maxPack, storeQuota, rateLimit, rateBurst } = config
  const { bank, bankMemory, gpuMemory, tf32 } = config
  const { maxConnections, maxConnectionsPerPeer, runtime, precision, device, specialiseMemory } = config
  if (runtime === 'native' && device.kind !== 'cpu' && bank !== 'device') {
    return `--bank ${bank} is the stock runtime's on ${deviceName(device)}, where the native one has --bank device: leave one of the two out`
  }
  if (runtime === 'stock' && bank === 'device') {
    return '--bank device needs the native runtime, not --runtime stock: leave one of the two out'
  }
  if (gpuMemory < Infinity && bank !== 'device') {
    return `--gpu-memory ${showBytes(gpuMemory)} bounds what a bank on a device takes, and there is none with --bank ${bank}: leave one of the two out`
  }
  if (bankMemory > gpuMemory) {
    const [rows, all] = [showBytes(bankMemory), showBytes(gpuMemory)]
    return `--bank-memory ${rows} is more than --gpu-memory ${all}, which is to hold trunk and runs beside the adapters`
  }
  if (tf32 && (device.kind === 'cpu' || bank !== 'device')) {
    return `--tf32 is for a GPU that has the bank, not for ${deviceName(device)} with --bank ${bank}: leave it out`
  }
  if (precision === 'int8' && device.kind !== 'cpu') {
    return `--precision int8 runs on the cpu alone, not on ${deviceName(device)}: leave one of the two out`
  }
  if (specialiseMemory > 0 && bank === 'device' && device.kind === 'cpu') {
    return '--specialise-memory does not go with --bank device: leave one of the two out'
  }
  if (specialiseMemory > 0 && (runtime === 'stock' || device.kind !== 'cpu')) {
    return `--specialise-memory needs the native runtime, not ${device.kind === 'cpu' ? '--runtime stock' : deviceName(device)}: leave one of the two out`
  }
  if (specialiseMemory > 0 && precision !== 'fp32') {
    return `--specialise-memory makes networks in fp32, so it does not go with --precision ${precision}: leave one of the two out`
  }
  if (maxQueuePerDomain > maxQueue) {
    return `--max-queue-per-domain ${maxQueuePerDomain} is more than --max-queue ${maxQueue}, which bounds the images of all domains`
  }
  if (maxImages > maxQueue) {
    return `--max-images ${maxImages} is more than --max-queue ${maxQueue}: such a request could never be admitted`
  }
  if (maxImages > maxQueuePerDomain) {
    return `--max-images ${maxImages} is more than --max-queue-per-domain ${maxQueuePerDomain}: such a request could never be admitted`
  }
  if (rateLimit === 0 && given.rateBurst !== undefined) {
    return `--rate-burst ${given.rateBurst} does nothing without --rate-limit: give both, or neither`
  }
  if (rateLimit > 0 && maxImages > rateBurst) {
    return `--max-images ${maxImages} is more than --rate-burst ${rateBurst}: such a request could never pass`
  }
  if (maxBody > maxBodies) {
    const [one, all] = [showBytes(maxBody), showBytes(maxBodies)]
    return `--max-body ${one} is more than --max-bodies ${all}: such a body could never be taken`
  }
  if (maxPack > storeQuota) {
    const [one, all] = [showBytes(maxPack), showBytes(storeQuota)]
    return `--max-pack ${one} is more than --store-quota ${all}: such a pack could never be stored`
  }
  if (maxConnectionsPerPeer > maxConnections) {
    return `--max-connections-per-peer ${maxConnectionsPerPeer} is more than --max-connections ${maxConnections}: no address could have so many`
  }
  if (requestTimeout > maxRequestTimeout) {
    const [standard, longest] = [showDuration(requestTimeout), showDuration(maxRequestTimeout)]
    return `--request-timeout ${standard} is longer than --max-request-timeout ${longest}`
  }
  if (decodeThreads >= poolThreads() && decodeThreads > 1) {
    return `--decode-threads ${decodeThreads} needs the variable UV_THREADPOOL_SIZE=${decodeThreads + 1} or more: files are read by the same threads`
  }
  return undefined
}

/** Help text of an option with its default; Commander leaves out a default that depends on other options. */
function describe({ description, defaultValueDescription, envVar }: Option): string {
  return envVar ? `${description} (default: ${defaultValueDescription}; ${envVar})` : description
}

function parser(setting: Setting<unknown, unknown>): (value: string, before: unknown) => unknown {
  return (value, before) => {
    try {
      const parsed = setting.parse(value)
      if (!setting.repeats || before === undefined || before === setting.default) return parsed
      return [...(before as unknown[]), ...(parsed as unknown[])]
    } catch (error) {
      throw error instanceof QuantityError ? new InvalidArgumentError(error.message) : error
    }
  }
}

function kebab(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

function variable(key: string): string {
  return `FACET_${kebab(key).replaceAll('-', '_').toUpperCase()}`
}
