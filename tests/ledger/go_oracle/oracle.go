// Answers, by golang.org/x/mod/sumdb, the questions that the tests ask: one JSON object in, one out.
package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Notes []struct {
		Note string
		Keys []string
	}
	Records []struct {
		Size, Index int64
		Leaf, Root  string
		Path        []string
	}
	Trees []struct {
		SizeNew, SizeOld int64
		RootNew, RootOld string
		Path             []string
	}
	// Leaves of one tree, in hex, and the proofs wanted of it.
	Leaves      []string
	ProveRecord [][2]int64
	ProveTree   [][2]int64
}

type opened struct {
	Error string
	Text  string
	Names []string
}

type answer struct {
	Notes   []opened
	Records []string
	Trees   []string
	// After each leaf.
	Roots        []string
	RecordProofs [][]string
	TreeProofs   [][]string
}

func hash(text string) (h tlog.Hash) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(h) {
		panic("not a hash: " + text)
	}
	copy(h[:], raw)
	return h
}

func hashes(texts []string) (list []tlog.Hash) {
	for _, text := range texts {
		list = append(list, hash(text))
	}
	return list
}

func texts(list []tlog.Hash) []string {
	all := []string{}
	for _, h := range list {
		all = append(all, hex.EncodeToString(h[:]))
	}
	return all
}

func say(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var q question
	var a answer
	must(json.NewDecoder(os.Stdin).Decode(&q))
	for _, n := range q.Notes {
		var verifiers []note.Verifier
		for _, key := range n.Keys {
			verifier, err := note.NewVerifier(key)
			must(err)
			verifiers = append(verifiers, verifier)
		}
		result, err := note.Open([]byte(n.Note), note.VerifierList(verifiers...))
		o := opened{Error: say(err), Names: []string{}}
		if err == nil {
			o.Text = result.Text
			for _, sig := range result.Sigs {
				o.Names = append(o.Names, sig.Name)
			}
		}
		a.Notes = append(a.Notes, o)
	}
	for _, r := range q.Records {
		a.Records = append(a.Records, say(tlog.CheckRecord(hashes(r.Path), r.Size, hash(r.Root), r.Index, hash(r.Leaf))))
	}
	for _, t := range q.Trees {
		a.Trees = append(a.Trees, say(tlog.CheckTree(hashes(t.Path), t.SizeNew, hash(t.RootNew), t.SizeOld, hash(t.RootOld))))
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var list []tlog.Hash
		for _, index := range indexes {
			list = append(list, stored[index])
		}
		return list, nil
	})
	for number, leaf := range q.Leaves {
		data, err := hex.DecodeString(leaf)
		must(err)
		more, err := tlog.StoredHashes(int64(number), data, reader)
		must(err)
		stored = append(stored, more...)
		root, err := tlog.TreeHash(int64(number)+1, reader)
		must(err)
		a.Roots = append(a.Roots, hex.EncodeToString(root[:]))
	}
	for _, want := range q.ProveRecord {
		proof, err := tlog.ProveRecord(want[1], want[0], reader)
		must(err)
		a.RecordProofs = append(a.RecordProofs, texts(proof))
	}
	for _, want := range q.ProveTree {
		proof, err := tlog.ProveTree(want[1], want[0], reader)
		must(err)
		a.TreeProofs = append(a.TreeProofs, texts(proof))
	}
	must(json.NewEncoder(os.Stdout).Encode(a))
}
