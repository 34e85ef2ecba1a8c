/**
 * The log's form: JSON for machines, or lines for somebody who reads them at a terminal.
 *
 * Lines are made in this process and written at once, in the order of the calls: a thread or a stream between could
 * lose the last ones when the process ends. Where JSON is written, none of this is loaded.
 */
import { isatty } from 'node:tty'
import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino'
import { printable, printableJson } from '../shown-text.js'

export type LogFormat = 'auto' | 'json' | 'pretty'

/** What standard output is. */
export interface Terminal {
  isTerminal: boolean
  colours: boolean
}

const STDOUT = 1

/**
 * @param format `auto`: pretty where standard output is a terminal
 * @param terminal colours are used on a terminal only
 * @param open opens where the lines go; `sync` where each is to be written before the next call returns
 */
export async function openLog(
  { level, format }: { level: string; format: LogFormat },
  terminal = standardOutput(),
  open: (sync: boolean) => DestinationStream = standardOutputLines,
): Promise<Logger> {
  const options: LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    // JSON reaches terminals too: that of a container's log, say.
    hooks: { streamWrite: printableJson },
  }
  if (format === 'json' || (format === 'auto' && !terminal.isTerminal)) return pino(options, open(false))
  const prettify = await prettifier(terminal.isTerminal && terminal.colours)
  const out = open(true)
  return pino(options, { write: (line) => out.write(prettify(line)) })
}

/** Standard output. A terminal that was closed takes no lines: that must not keep the service from stopping in order. */
function standardOutputLines(sync: boolean): DestinationStream {
  const out = pino.destination({ dest: STDOUT, sync })
  const nothing = () => true
  return out.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EIO') throw error
    Object.assign(out, { write: nothing, flush: nothing, flushSync: nothing, end: nothing })
  })
}

/** From a line of JSON to lines for people: one, and for the start of the service one for each field. */
async function prettifier(colorize: boolean): Promise<(line: string) => string> {
  const { prettyFactory } = await import('pino-pretty')
  const common = { colorize, translateTime: 'SYS:HH:MM:ss.l' }
  const inOne = prettyFactory({ ...common, singleLine: true })
  // A command is shown without quotes, so that it can be copied.
  const spread = prettyFactory({ ...common, customPrettifiers: { try: String } })
  return (line) => {
    const log = JSON.parse(line, printableLines) as Record<string, unknown>
    return log.try === undefined ? inOne(log) : spread(log)
  }
}

/** What a client sent must not steer the terminal. An error's stack has lines. */
function printableLines(_key: string, value: unknown): unknown {
  return typeof value === 'string' ? value.split('\n').map(printable).join('\n') : value
}

function standardOutput(): Terminal {
  const isTerminal = isatty(STDOUT)
  return { isTerminal, colours: isTerminal && process.stdout.hasColors() }
}
