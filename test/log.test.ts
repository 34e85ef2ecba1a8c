/** The log's form: JSON, or lines for people; which of them, and that no line is late. */
import t from 'tap'
import { openLog } from '../src/serve/log.js'

const NO_TERMINAL = { isTerminal: false, colours: false }
const TERMINAL = { isTerminal: true, colours: true }
const ESCAPE = '\u001b'

/** A log whose lines are in `text` as soon as they are written. */
async function open(format: 'auto' | 'json' | 'pretty', terminal: typeof TERMINAL, level = 'info') {
  const written = { text: '', sync: false }
  const logger = await openLog({ level, format }, terminal, (sync) => {
    written.sync = sync
    return {
      write: (text) => {
        written.text += text
      },
    }
  })
  return { logger, written }
}

t.test('JSON where nobody looks, and wherever it is asked for', async (t) => {
  for (const [format, terminal] of [
    ['auto', NO_TERMINAL],
    ['json', NO_TERMINAL],
    ['json', TERMINAL],
  ] as const) {
    const { logger, written } = await open(format, terminal)
    logger.info({ domain: 'shop' }, 'hello')
    const { time, ...line } = JSON.parse(written.text)
    t.same(line, { level: 30, domain: 'shop', msg: 'hello' }, format)
    t.match(time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
    t.equal(written.sync, false, 'written behind the event loop')
  }
})

t.test('one line for people, in colours on a terminal only', async (t) => {
  const line = /^\[\d\d:\d\d:\d\d\.\d{3}\] WARN: hello \{"domain":"shop","status":201\}\n$/
  for (const [format, terminal, coloured] of [
    ['auto', TERMINAL, true],
    ['pretty', TERMINAL, true],
    ['auto', { isTerminal: true, colours: false }, false],
    ['pretty', NO_TERMINAL, false],
    ['pretty', { isTerminal: false, colours: true }, false],
  ] as const) {
    const { logger, written } = await open(format, terminal)
    logger.warn({ domain: 'shop', status: 201 }, 'hello')
    t.equal(written.text.includes(ESCAPE), coloured)
    t.match(written.text.replaceAll(new RegExp(`${ESCAPE}\\[\\d+m`, 'g'), ''), line)
    t.equal(written.sync, true, 'on its way before the next call')
  }
})

t.test('the line of the start has a line for each field, and its command can be copied', async (t) => {
  const { logger, written } = await open('pretty', NO_TERMINAL)
  logger.info({ url: 'http://x', lanes: 2, try: "curl 'http://x/a b'" }, 'listening')
  t.match(
    written.text,
    / INFO: listening\n {4}url: "http:\/\/x"\n {4}lanes: 2\n {4}try: curl 'http:\/\/x\/a b'\n$/,
  )
})

t.test('levels hold, and an error has its stack', async (t) => {
  const { logger, written } = await open('pretty', NO_TERMINAL, 'error')
  logger.info('not this')
  logger.error({ err: new Error('broken') }, 'failed')
  t.notMatch(written.text, 'not this')
  t.match(written.text, / ERROR: failed\s.*Error: broken\n +at .*log\.test/s)
})

t.test('what a client sent does not steer the terminal', async (t) => {
  const text = `a${ESCAPE}[2Jb\u009b2J\rc\u202ed`
  const unsafe = /[^\P{Cc}\n]|\p{Bidi_Control}/u
  for (const format of ['pretty', 'json'] as const) {
    const { logger, written } = await open(format, NO_TERMINAL)
    logger.child({ peer: text }).error({ err: new Error(text), domain: text }, text)
    t.notMatch(written.text, unsafe, format)
    if (format === 'pretty') t.match(written.text, 'Error: a\ufffd[2Jb\ufffd2J\ufffdc\ufffdd\n')
    else t.match(JSON.parse(written.text), { err: { message: text }, peer: text, domain: text, msg: text })
  }
})
