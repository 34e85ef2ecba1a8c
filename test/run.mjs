/**
 * Compiles everything and runs tests with tap: `node test/run.mjs [--unit | FILE ...] [FLAG OF TAP ...]`, where a FILE is
 * `test/NAME.test.ts`. All tests unless told.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { COMPILED, compile } from './loader/compile.mjs'
import { isUnit } from './unit.mjs'

const ENDING = '.test.ts'

const given = process.argv.slice(2)
const flags = given.filter((argument) => argument.startsWith('-') && argument !== '--unit')
const named = given.filter((argument) => argument.endsWith(ENDING))
const all = readdirSync('test').filter((name) => name.endsWith(ENDING))
const chosen = given.includes('--unit') ? all.filter((name) => isUnit(name.slice(0, -ENDING.length))) : all
const files = named.length > 0 ? named : chosen.map((name) => join('test', name))

compile()
const compiled = files.map((file) => join(relative('.', COMPILED), file.replace(/\.ts$/, '.js')))
const { status } = spawnSync('npx', ['tap', ...flags, ...compiled], { stdio: 'inherit' })
process.exitCode = status ?? 1
